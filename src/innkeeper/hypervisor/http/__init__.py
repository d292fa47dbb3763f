# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's API: REST and WebSocket, on a unix socket and, if asked for, on TCP."""
