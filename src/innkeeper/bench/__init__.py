# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: measure our engine on real workloads, beside a named peer (QEMU) in the same run."""
