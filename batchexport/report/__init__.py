"""Reports: what a state file says, as text, tables, CSV and JSON. Reading only; nothing here prints."""
