"""The HTTP interface: one module a subject, thin over the modules beside this folder."""
