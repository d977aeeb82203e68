"""What keeps a process from starting. Each message is one line: what, where, and the way out."""


class StartupError(Exception):
    """Root of everything that is refused before the first call is served. The text is made for people."""


class PortInUseError(StartupError):
    """Another process listens on our port."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another process; stop it or set OKR_GRPC_PORT to a free port")


class DurabilityError(StartupError):
    """The database would lose acknowledged commands in a crash."""


class UnsafeSettingError(StartupError):
    """A setting that is fine for development and not for production."""
