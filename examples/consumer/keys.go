package main

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A key is an API key of the user, without its secret.
type key struct {
	ID       string     `json:"id"`       // the key begins with it
	Name     string     `json:"name"`     // the user chose it: show it as text, never as HTML
	Role     string     `json:"role"`     // or "" for all roles that the user has
	Created  time.Time  `json:"created"`  // by the user
	LastSeen *time.Time `json:"lastSeen"` // accurate to an hour, or null if it was not used
	Expires  *time.Time `json:"expires"`  // or null if it does not expire
}

// longestKey is the maximum number of days for which a key is valid, unless it does not
// expire.
const longestKey = 3650

// createKey handles POST /api/keys. The response is the only one with the secret.
func (s *service) createKey(c *gin.Context) {
	if !readForm(c, "name") {
		return
	}
	form := c.Request.PostForm
	wanted := tokenauth.Key{Name: form.Get("name")}
	if wanted.Name == "" {
		writeError(c, http.StatusBadRequest, "invalid_request", "Give the key a name.")
		return
	}
	if role := form.Get("role"); role != "" {
		wanted.Roles = []string{role}
	}
	if days := form.Get("days"); days != "" {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > longestKey {
			writeError(c, http.StatusBadRequest, "invalid_request", "The parameter days is a number from 1 to "+strconv.Itoa(longestKey)+".")
			return
		}
		wanted.ExpiresAt = s.now().AddDate(0, 0, n)
	}
	owner, _ := ginadapter.From(c)
	secret, made, err := s.keys.Create(c.Request.Context(), owner, wanted)
	if err != nil {
		answerKey(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusCreated, gin.H{"id": made.ID, "name": made.Name, "key": secret.Reveal()})
}

// listKeys handles GET /api/keys.
func (s *service) listKeys(c *gin.Context) {
	token, _ := ginadapter.From(c)
	stored, err := s.keys.List(c.Request.Context(), token.Principal.UserID)
	if err != nil && !errors.Is(err, tokenauth.ErrCorrupt) {
		answer(c, err)
		return
	}
	keys := make([]key, len(stored))
	for i, k := range stored {
		keys[i] = key{ID: k.ID, Name: k.Name, Created: k.CreatedAt.UTC(), LastSeen: known(k.LastSeen), Expires: known(k.ExpiresAt)}
		if len(k.Roles) > 0 {
			keys[i].Role = k.Roles[0]
		}
	}
	c.JSON(http.StatusOK, keys)
}

// known returns nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// renameKey handles PATCH /api/keys/{id}.
func (s *service) renameKey(c *gin.Context) {
	if !readForm(c, "name") {
		return
	}
	name := c.Request.PostForm.Get("name")
	if name == "" {
		writeError(c, http.StatusBadRequest, "invalid_request", "Give the key a name.")
		return
	}
	token, _ := ginadapter.From(c)
	answerKey(c, s.keys.Rename(c.Request.Context(), token.Principal.UserID, c.Param("id"), name))
}

// endKey handles DELETE /api/keys/{id}. The ID of another user's key is unknown to
// Revoke.
func (s *service) endKey(c *gin.Context) {
	token, _ := ginadapter.From(c)
	answer(c, s.keys.Revoke(c.Request.Context(), token.Principal.UserID, c.Param("id")))
}

// answerKey is answer, with an explanation of a key that cannot be made as the user
// wants it.
func answerKey(c *gin.Context, err error) {
	switch {
	case errors.Is(err, tokenauth.ErrTooManyKeys):
		writeError(c, http.StatusBadRequest, "invalid_request", "You have too many API keys. End one of them first.")
	case errors.Is(err, tokenauth.ErrInvalidPrincipal):
		writeError(c, http.StatusBadRequest, "invalid_request", "The role must be one of yours, and the name may have at most 100 bytes and no control characters.")
	default:
		answer(c, err)
	}
}

// reports handles GET /api/reports. It takes a sign-in or a key, and says which.
func (s *service) reports(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.JSON(http.StatusOK, gin.H{
		"user": token.Principal.UserName, "roles": token.Principal.Roles, "key": token.Key,
		"reports": []string{"Sign-ins in October", "Sign-ins in November"},
	})
}
