# SPDX-License-Identifier: Apache-2.0
"""The guest's network without root: user-mode NAT, its services, and what a guest may reach."""
