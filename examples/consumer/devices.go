package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// me handles GET /api/me. No script can see when a cookie expires, so me tells the page
// in how many seconds to refresh it: halfway through the lifetime of the access token.
func (s *service) me(c *gin.Context) {
	token, _ := ginadapter.From(c)
	p, halfway := token.Principal, token.IssuedAt.Add(token.ExpiresAt.Sub(token.IssuedAt)/2)
	c.JSON(http.StatusOK, gin.H{"id": p.UserID, "name": p.UserName, "roles": p.Roles, "refreshIn": int(time.Until(halfway).Seconds())})
}

// A device is one place where the user is signed in.
type device struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`     // the client chose it: show it as text, never as HTML
	Issued   time.Time `json:"issued"`   // when the user signed in
	LastSeen time.Time `json:"lastSeen"` // accurate to an hour
	Current  bool      `json:"current"`  // the one that sent the request
}

// listDevices handles GET /api/devices.
func (s *service) listDevices(c *gin.Context) {
	current, _ := ginadapter.From(c)
	tokens, err := s.auth.Tokens(c.Request.Context(), current.Principal.UserID)
	if err != nil && !errors.Is(err, tokenauth.ErrCorrupt) {
		answer(c, err)
		return
	}
	devices := make([]device, len(tokens))
	for i, t := range tokens {
		signedIn := t.IssuedAt // or refreshed
		if t.Refresh != nil {
			signedIn = t.Refresh.SignedInAt
		}
		devices[i] = device{t.SlotID(), t.DeviceName, signedIn.UTC(), t.LastSeen.UTC(), t.Slot == current.Slot}
	}
	c.JSON(http.StatusOK, devices)
}

// endDevice handles DELETE /api/devices/{id}. The ID of another user's device is
// unknown to RevokeDevice.
func (s *service) endDevice(c *gin.Context) {
	current, _ := ginadapter.From(c)
	answer(c, s.auth.RevokeDevice(c.Request.Context(), current.Principal.UserID, c.Param("id")))
}

// endOtherDevices handles DELETE /api/devices.
func (s *service) endOtherDevices(c *gin.Context) {
	current, _ := ginadapter.From(c)
	answer(c, s.auth.RevokeUser(c.Request.Context(), current.Principal.UserID, current))
}

// changePassword handles POST /api/password. A wrong current password counts as a
// failed sign-in, so a stolen token does not help to guess it.
func (s *service) changePassword(c *gin.Context) {
	if !readForm(c, "current") {
		return
	}
	token, _ := ginadapter.From(c)
	credentials := s.auth.RequestCredentials(c.Request)
	credentials.UserName = token.Principal.UserName
	credentials.Password = tokenauth.NewSecret(c.Request.PostForm.Get("current"))
	credentials.ClientID = passwordChange
	p, err := s.auth.VerifyPassword(c.Request.Context(), credentials)
	if err == nil && p.UserID != token.Principal.UserID { // another user has the name now
		err = tokenauth.ErrRejected
	}
	ctx := context.WithoutCancel(c.Request.Context()) // both steps run, even if the client disconnects
	if err == nil {
		err = s.users.SetPassword(ctx, p.UserID, tokenauth.NewSecret(c.Request.PostForm.Get("new")), token)
	}
	if err == nil {
		err = s.auth.RevokeUser(ctx, p.UserID, token) // also ends the streams of the others
	}
	answer(c, err)
}
