"""The known keys of config.json, as data: one module a subject, one row a key (with its other spellings)."""
