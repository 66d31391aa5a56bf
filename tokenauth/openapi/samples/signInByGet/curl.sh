curl --location --request GET "$HOST/PATH" \
  --header 'Content-Type: application/json' \
  --data-urlencode 'grant_type=password' \
  --data-urlencode 'username=username' \
  --data-urlencode 'client_id=client' \
  --data-urlencode 'client_secret=secret' \
  --data-urlencode 'password=password'
