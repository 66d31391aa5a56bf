package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/cookie"
	ginmemstore "github.com/gin-contrib/sessions/memstore"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	sessionKey  = "user"
	loginPath   = "/login"
	loginHeader = "X-User"
)

// scsSession wraps the whole engine in LoadAndSave, which is faster than calling
// LoadAndSave in Gin middleware.
func scsSession(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	manager := scs.New()
	store := memstore.NewWithCleanupInterval(0) // 0 starts no goroutine to remove expired sessions
	manager.Store = store
	guard := func(c *gin.Context) {
		if c.FullPath() != loginPath && manager.GetString(c.Request.Context(), sessionKey) == "" {
			c.AbortWithStatus(http.StatusUnauthorized)
		}
	}
	r := engine(guard, func(c *gin.Context) string { return manager.GetString(c.Request.Context(), sessionKey) })
	r.GET(loginPath, func(c *gin.Context) {
		manager.Put(c.Request.Context(), sessionKey, c.GetHeader(loginHeader))
		c.Status(http.StatusNoContent)
	})
	return contestant{name: name, handler: manager.LoadAndSave(r)}.withCookies(tb, users)
}

func ginSessionMemory(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	return ginSession(tb, name, ginmemstore.NewStore(randomKey(32)), users)
}

func ginSessionCookie(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	return ginSession(tb, name, cookie.NewStore(randomKey(32)), users)
}

func ginSession(tb testing.TB, name string, store sessions.Store, users []tokenauth.Principal) contestant {
	get := func(c *gin.Context) string {
		id, _ := sessions.Default(c).Get(sessionKey).(string)
		return id
	}
	r := gin.New()
	r.Use(sessions.Sessions("mysession", store))
	r.GET(loginPath, func(c *gin.Context) {
		s := sessions.Default(c)
		s.Set(sessionKey, c.GetHeader(loginHeader))
		if err := s.Save(); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
			return
		}
		c.Status(http.StatusNoContent)
	})
	signedIn := r.Group("", func(c *gin.Context) {
		if get(c) == "" {
			c.AbortWithStatus(http.StatusUnauthorized)
		}
	})
	signedIn.GET(path, func(c *gin.Context) { c.Status(http.StatusNoContent) })
	signedIn.GET(whoPath, func(c *gin.Context) { c.String(http.StatusOK, get(c)) })
	return contestant{name: name, handler: r}.withCookies(tb, users)
}

// withCookies signs the users in. It returns the contestant with a valid request
// for the cookie of each user, and with invalid requests.
func (c contestant) withCookies(tb testing.TB, users []tokenauth.Principal) contestant {
	for _, u := range users {
		login := request()
		login.URL.Path = loginPath
		login.Header.Set(loginHeader, u.UserID)
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, login)
		cookies := w.Result().Cookies()
		if len(cookies) != 1 {
			tb.Fatalf("%s: the login returned %d cookies, want 1; status %d", c.name, len(cookies), w.Code)
		}
		r := request()
		r.AddCookie(cookies[0])
		c.good = append(c.good, r)
		if len(c.bad) == 0 {
			forged := *cookies[0]
			forged.Value = tampered(forged.Value)
			r := request()
			r.AddCookie(&forged)
			c.bad = append(c.bad, request(), r)
		}
	}
	return c
}
