package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// An Order is a row of the orders table.
type Order struct {
	ID      uint   `gorm:"primaryKey" json:"id"`
	Item    string `json:"item"`
	Count   int    `json:"count"`
	TakenBy string `json:"takenBy"` // email of a user
}

func (s *service) orders(c *gin.Context) (orders []Order, err error) {
	err = s.db.WithContext(c.Request.Context()).Order("id").Limit(1000).Find(&orders).Error
	return orders, err
}

func (s *service) listOrders(c *gin.Context) {
	orders, err := s.orders(c)
	if err != nil {
		s.internal(c, err)
		return
	}
	c.JSON(http.StatusOK, orders)
}

func (s *service) createOrder(c *gin.Context) {
	var in struct {
		Item  string `binding:"required,max=200"`
		Count int    `binding:"required,min=1"`
	}
	if !readJSON(c, &in) {
		return
	}
	order := Order{Item: in.Item, Count: in.Count, TakenBy: signedIn(c).Email}
	if err := s.db.WithContext(c.Request.Context()).Create(&order).Error; err != nil {
		s.internal(c, err)
		return
	}
	c.JSON(http.StatusCreated, order)
}

func (s *service) deleteOrder(c *gin.Context) {
	deleted := s.db.WithContext(c.Request.Context()).Where("id = ?", c.Param("id")).Delete(&Order{})
	switch {
	case deleted.Error != nil:
		s.internal(c, deleted.Error)
	case deleted.RowsAffected == 0:
		problem(c, http.StatusNotFound, "not_found", "There is no such order.")
	default:
		c.Status(http.StatusNoContent)
	}
}
