"""Operation of studies: device leases, status, checks of the installation, and cost estimates."""
