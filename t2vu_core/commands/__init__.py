"""The commands of `t2vu`: one module each, with HELP, add_arguments(parser), run(options) and show(result)."""
