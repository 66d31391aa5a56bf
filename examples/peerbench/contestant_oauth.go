package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/generates"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/server"
	oauthstore "github.com/go-oauth2/oauth2/v4/store"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	fositestore "github.com/ory/fosite/storage"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// goOAuth2 validates tokens in the same way as go-oauth2's own example of a
// protected resource.
func goOAuth2(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	manager := manage.NewDefaultManager()
	manager.MustTokenStorage(oauthstore.NewMemoryTokenStore())
	manager.MapAccessGenerate(generates.NewAccessGenerate())
	clients := oauthstore.NewClientStore()
	if err := clients.Set("client", &models.Client{ID: "client", Secret: "secret", Domain: "https://example.org"}); err != nil {
		tb.Fatal(err)
	}
	manager.MapClientStorage(clients)
	s := server.NewServer(server.NewConfig(), manager)

	var accessTokens []string
	for _, u := range users {
		info, err := manager.GenerateAccessToken(tb.Context(), oauth2.PasswordCredentials, &oauth2.TokenGenerateRequest{
			ClientID: "client", ClientSecret: "secret", UserID: u.UserID, Scope: "Reader", AccessTokenExp: time.Hour,
		})
		if err != nil {
			tb.Fatal(err)
		}
		accessTokens = append(accessTokens, info.GetAccess())
	}
	guard := func(c *gin.Context) {
		info, err := s.ValidationBearerToken(c.Request)
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		c.Set("token", info)
	}
	who := func(c *gin.Context) string { return c.MustGet("token").(oauth2.TokenInfo).GetUserID() }
	return contestant{name: name, handler: engine(guard, who)}.withBearers(accessTokens)
}

// fositeIntrospection uses opaque tokens (HMAC-SHA). It enables only one of fosite's
// handlers, the one that introspects tokens.
func fositeIntrospection(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	config := &fosite.Config{GlobalSecret: randomKey(32), AccessTokenLifespan: time.Hour}
	store := fositestore.NewMemoryStore()
	strategy := compose.NewOAuth2HMACStrategy(config)
	provider := compose.Compose(config, store, strategy, compose.OAuth2TokenIntrospectionFactory)

	var accessTokens []string
	for _, u := range users {
		r := fosite.NewRequest()
		r.SetRequestedScopes(fosite.Arguments{"Reader"})
		r.GrantScope("Reader")
		session := &fosite.DefaultSession{Username: u.UserName, Subject: u.UserID}
		session.SetExpiresAt(fosite.AccessToken, time.Now().Add(time.Hour))
		r.SetSession(session)
		accessToken, signature, err := strategy.GenerateAccessToken(tb.Context(), r)
		if err != nil {
			tb.Fatal(err)
		}
		if err := store.CreateAccessTokenSession(tb.Context(), signature, r); err != nil {
			tb.Fatal(err)
		}
		accessTokens = append(accessTokens, accessToken)
	}
	guard := func(c *gin.Context) {
		accessToken := fosite.AccessTokenFromRequest(c.Request)
		_, requester, err := provider.IntrospectToken(c.Request.Context(), accessToken, fosite.AccessToken, new(fosite.DefaultSession))
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		c.Set("requester", requester)
	}
	who := func(c *gin.Context) string {
		return c.MustGet("requester").(fosite.AccessRequester).GetSession().GetSubject()
	}
	return contestant{name: name, handler: engine(guard, who)}.withBearers(accessTokens)
}
