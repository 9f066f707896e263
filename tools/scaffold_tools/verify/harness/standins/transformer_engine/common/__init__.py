from . import recipe
