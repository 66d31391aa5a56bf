# Signs in with the oauth2 gem, and refreshes once the token has expired. Prints whom /me
# names each time.
require 'json'
require 'oauth2'

HOST, USER, PASSWORD, CLIENT_ID, CLIENT_SECRET, CLIENT_AUTH =
  ENV.values_at('HOST', 'USER_NAME', 'PASSWORD', 'CLIENT_ID', 'CLIENT_SECRET', 'CLIENT_AUTH')

options = { site: HOST, token_url: '/Token' }
options[:auth_scheme] = { 'basic' => :basic_auth, 'body' => :request_body }[CLIENT_AUTH] unless CLIENT_AUTH.empty?
client = OAuth2::Client.new(CLIENT_ID, CLIENT_SECRET, options)
token = client.password.get_token(USER, PASSWORD)

users = [token.get('/me').parsed['userName']]
2.times do
  # As read from where an application stores it.
  token = OAuth2::AccessToken.from_hash(client, token.to_hash.merge(expires_at: Time.now.to_i - 1))
  token = token.refresh! if token.expired?
  users << token.get('/me').parsed['userName']
end
version = Gem::Specification.find_by_name('oauth2').version
puts JSON.generate(client: "oauth2 #{version}, Ruby #{RUBY_VERSION}", users: users)
