# SPDX-License-Identifier: Apache-2.0
"""The hypervisor: the daemon that owns one user's VMs, starts their VMMs, looks after them, and survives."""
