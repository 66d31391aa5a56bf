package service

import (
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

// mountDocs serves the OpenAPI description at /openapi.json. At /docs, it serves a
// documentation page that can send requests.
func mountDocs(r gin.IRouter, auth *tokenauth.Service, mounted tokenauth.Endpoints) error {
	d, err := openapi.New(auth, mounted, &openapi.Options{Title: "Quickstart", Paths: map[string]any{
		"/me":    gin.H{"get": openapi.Protected(describeMe("me", "Get the signed-in user"))},
		"/admin": gin.H{"get": openapi.Protected(describeMe("admin", "Get the signed-in user, for administrators"), "Administrator")},
	}})
	if err != nil {
		return err
	}
	r.GET("/openapi.json", gin.WrapH(d))
	page := gin.WrapH(d.Page())
	r.GET("/docs", page)
	r.GET("/docs/*file", page)
	return nil
}

// describeMe returns the OpenAPI Operation Object of a route with the handler
// me.
func describeMe(operationID, summary string) gin.H {
	text := gin.H{"type": "string"}
	return gin.H{
		"operationId": operationID, "summary": summary, "tags": []string{"Quickstart"},
		"responses": gin.H{"200": gin.H{
			"description": "The signed-in user.",
			"content": gin.H{"application/json": gin.H{
				"schema":  gin.H{"type": "object", "properties": gin.H{"userId": text, "userName": text, "role": text}},
				"example": gin.H{"userId": "69f61388-c60d-4ee2-a454-f60305e414c7", "userName": "username", "role": "Administrator"},
			}},
		}},
	}
}
