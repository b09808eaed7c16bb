"""Documentation of the methods: the OpenAPI document and the page at /docs, both made from the method table."""
