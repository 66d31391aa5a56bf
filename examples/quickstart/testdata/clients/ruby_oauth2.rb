# Signs in with the oauth2 gem, and prints what it has seen.
require 'json'
require 'oauth2'

HOST, USER, PASSWORD, CLIENT_ID, CLIENT_SECRET, CLIENT_AUTH =
  ENV.values_at('HOST', 'USER_NAME', 'PASSWORD', 'CLIENT_ID', 'CLIENT_SECRET', 'CLIENT_AUTH')

def sign_in(password, secret = CLIENT_SECRET)
  options = { site: HOST, token_url: '/Token' }
  options[:auth_scheme] = { 'basic' => :basic_auth, 'body' => :request_body }[CLIENT_AUTH] unless CLIENT_AUTH.empty?
  OAuth2::Client.new(CLIENT_ID, secret, options).password.get_token(USER, password)
end

def refused(*args)
  sign_in(*args)
  ''
rescue OAuth2::Error => e
  e.code
end

def user_name(token)
  token.get('/me').parsed['userName']
end

first = sign_in(PASSWORD)
seen = {
  client: "oauth2 #{Gem::Specification.find_by_name('oauth2').version}, Ruby #{RUBY_VERSION}",
  expiresIn: first.expires_at - Time.now.to_f,
  wrongPassword: refused("not #{PASSWORD}"),
  user: user_name(first)
}
seen[:wrongSecret] = refused(PASSWORD, "not #{CLIENT_SECRET}") unless CLIENT_SECRET.empty?

second = sign_in(PASSWORD)
seen[:userAgain] = user_name(second)
begin
  first.get('/me')
rescue OAuth2::Error => e
  seen[:replaced] = "#{e.response.status} #{e.description}"
end
puts JSON.generate(seen)
