curl "$HOST/PATH" \
  --data-urlencode 'client_id=client' \
  --data-urlencode 'client_secret=secret' \
  --data-urlencode "token=$TOKEN"
