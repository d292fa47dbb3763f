# SPDX-License-Identifier: Apache-2.0
"""What the processes of Innkeeper say to each other, and where. Imports nothing of ours but errors."""
