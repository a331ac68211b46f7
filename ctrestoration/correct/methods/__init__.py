"""One file a method. Each registers itself; `ctrestoration.registry` finds it here by its presence."""
