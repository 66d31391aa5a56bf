curl "$HOST/PATH"
