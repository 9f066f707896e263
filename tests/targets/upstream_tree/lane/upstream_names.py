"""What stands in an adapted test for a name of upstream's that has no counterpart."""


class Missing:
    """Fails the test that uses it, and no other."""

    def __init__(self, name):
        self.__dict__["name"] = name

    def __getattr__(self, attribute):
        raise AssertionError(f"no counterpart of upstream's {self.name}")

    def __call__(self, *args, **kwargs):
        raise AssertionError(f"no counterpart of upstream's {self.name}")
