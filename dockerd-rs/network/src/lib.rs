//! Container networking: drivers, address management, firewall, all by netlink.
