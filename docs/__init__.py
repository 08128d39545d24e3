"Glue of the documentation site; no part of the package."
