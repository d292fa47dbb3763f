# SPDX-License-Identifier: Apache-2.0
"""Constants of the virtio standard, version 1.3, for the modern MMIO transport and the devices we offer.

Spec: virtio-1.3 (OASIS, 2023). Sections are cited at each group. All values are little-endian on the wire.
"""

from enum import IntEnum, IntFlag

# 4.2.2 "MMIO Device Register Layout"
MMIO_MAGIC = 0x7472_6976  # "virt"
MMIO_VERSION = 2
MMIO_CONFIG_OFFSET = 0x100


class MmioRegister(IntEnum):
    """Offsets of the 32-bit registers. Spec: virtio-1.3 4.2.2 "MMIO Device Register Layout"."""

    MAGIC_VALUE = 0x000
    VERSION = 0x004
    DEVICE_ID = 0x008
    VENDOR_ID = 0x00C
    DEVICE_FEATURES = 0x010
    DEVICE_FEATURES_SEL = 0x014
    DRIVER_FEATURES = 0x020
    DRIVER_FEATURES_SEL = 0x024
    QUEUE_SEL = 0x030
    QUEUE_SIZE_MAX = 0x034
    QUEUE_SIZE = 0x038
    QUEUE_READY = 0x044
    QUEUE_NOTIFY = 0x050
    INTERRUPT_STATUS = 0x060
    INTERRUPT_ACK = 0x064
    STATUS = 0x070
    QUEUE_DESC_LOW = 0x080
    QUEUE_DESC_HIGH = 0x084
    QUEUE_DRIVER_LOW = 0x090
    QUEUE_DRIVER_HIGH = 0x094
    QUEUE_DEVICE_LOW = 0x0A0
    QUEUE_DEVICE_HIGH = 0x0A4
    SHM_SEL = 0x0AC
    SHM_LEN_LOW = 0x0B0
    SHM_LEN_HIGH = 0x0B4
    SHM_BASE_LOW = 0x0B8
    SHM_BASE_HIGH = 0x0BC
    QUEUE_RESET = 0x0C0
    CONFIG_GENERATION = 0x0FC


class DeviceStatus(IntFlag):
    """Spec: virtio-1.3 2.1 "Device Status Field"."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    FAILED = 128


# Bits of InterruptStatus. Spec: virtio-1.3 4.2.2, register 0x060.
INTERRUPT_USED_BUFFER = 1
INTERRUPT_CONFIG_CHANGE = 2

# Feature bit numbers of every device. Spec: virtio-1.3 6 "Reserved Feature Bits".
F_INDIRECT_DESC = 28
F_EVENT_IDX = 29
F_VERSION_1 = 32

# Split virtqueues. Spec: virtio-1.3 2.7 "Split Virtqueues".
DESC_SIZE_BYTES = 16
DESC_F_NEXT = 1
DESC_F_WRITE = 2
DESC_F_INDIRECT = 4
AVAIL_F_NO_INTERRUPT = 1
USED_F_NO_NOTIFY = 1
QUEUE_SIZE_LIMIT = 32768

# Spec: virtio-1.3 5 "Device Types".
DEVICE_NET = 1
DEVICE_BLOCK = 2
DEVICE_CONSOLE = 3
DEVICE_ENTROPY = 4

# Network device. Spec: virtio-1.3 5.1.3, 5.1.4, 5.1.6.
NET_F_CSUM = 0
NET_F_GUEST_CSUM = 1
NET_F_CTRL_GUEST_OFFLOADS = 2
NET_F_MTU = 3
NET_F_MAC = 5
NET_F_GUEST_TSO4 = 7
NET_F_GUEST_TSO6 = 8
NET_F_HOST_TSO4 = 11
NET_F_HOST_TSO6 = 12
NET_F_MRG_RXBUF = 15
NET_F_STATUS = 16
NET_F_CTRL_VQ = 17
NET_F_CTRL_RX = 18
NET_F_GUEST_ANNOUNCE = 21
NET_F_CTRL_MAC_ADDR = 23
NET_S_LINK_UP = 1
NET_S_ANNOUNCE = 2
NET_HDR_F_NEEDS_CSUM = 1
NET_HDR_F_DATA_VALID = 2
NET_HDR_GSO_NONE = 0
NET_HDR_GSO_TCPV4 = 1
NET_HDR_GSO_TCPV6 = 4
NET_HDR_GSO_UDP_L4 = 5
NET_HDR_GSO_ECN = 0x80
# Control queue: class and command. Spec: virtio-1.3 5.1.6.5 "Control Virtqueue".
NET_CTRL_RX = 0
NET_CTRL_RX_COMMANDS = 6
NET_CTRL_MAC = 1
NET_CTRL_MAC_TABLE_SET = 0
NET_CTRL_MAC_ADDR_SET = 1
NET_CTRL_ANNOUNCE = 3
NET_CTRL_ANNOUNCE_ACK = 0
NET_CTRL_GUEST_OFFLOADS = 5
NET_CTRL_GUEST_OFFLOADS_SET = 0
NET_OK = 0
NET_ERR = 1
NET_HEADER_BYTES = 12
NET_MTU_MIN_BYTES = 68

# Block device. Spec: virtio-1.3 5.2.3, 5.2.6.
BLK_SECTOR_BYTES = 512
BLK_F_SEG_MAX = 2
BLK_F_RO = 5
BLK_F_BLK_SIZE = 6
BLK_F_FLUSH = 9
BLK_F_TOPOLOGY = 10
BLK_F_DISCARD = 13
BLK_F_WRITE_ZEROES = 14
BLK_T_IN = 0
BLK_T_OUT = 1
BLK_T_FLUSH = 4
BLK_T_GET_ID = 8
BLK_T_DISCARD = 11
BLK_T_WRITE_ZEROES = 13
BLK_S_OK = 0
BLK_S_IOERR = 1
BLK_S_UNSUPP = 2
BLK_ID_BYTES = 20
BLK_HEADER_BYTES = 16
BLK_RANGE_BYTES = 16
BLK_RANGE_F_UNMAP = 1

# Console device. Spec: virtio-1.3 5.3.3, 5.3.6.2 "Multiport Device Operation".
CONSOLE_F_SIZE = 0
CONSOLE_F_MULTIPORT = 1
CONSOLE_F_EMERG_WRITE = 2
CONSOLE_CONTROL_BYTES = 8
CONSOLE_EMERG_WRITE_OFFSET = 8


class ConsoleEvent(IntEnum):
    """Control messages. Spec: virtio-1.3 5.3.6.2 "Multiport Device Operation"."""

    DEVICE_READY = 0
    PORT_ADD = 1
    PORT_REMOVE = 2
    PORT_READY = 3
    CONSOLE_PORT = 4
    RESIZE = 5
    PORT_OPEN = 6
    PORT_NAME = 7
