complete --keep-order --exclusive --command mfctl --arguments "(COMPLETE=fish mfctl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
