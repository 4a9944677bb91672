"""Local encryption: values sealed and opened here, under data keys that the gateway lends (docs/adr/0016).

`held_data_key` has the cryptography, `data_key_cache` what is kept and for how long, `origin` how it is asked for.
None of them does I/O: `blocking` does it for threads and `tasks` for asyncio.
"""
