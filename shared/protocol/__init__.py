"""The protocol's objects: their types (TypedDict), their schemas and the constants that both sides of the wire compare.

A leaf: imports nothing of the store or the events. Records of the store become these objects in shared.views.
"""
