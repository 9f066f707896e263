"""The machinery behind `scaffold`: from a Hugging Face link to a proven integration.

Data goes one way, each stage a function from one frozen dataclass to the next:
Source -> Inventory -> Classification -> Blueprint -> Plan -> Applied -> Evidence -> Checklist.
"""
