"""How fast and how big: figures of the package beside goals, floors and other packages.

`make bench` runs them; `make bench ARGS="spc --save"` runs one subject and keeps the result.
"""
