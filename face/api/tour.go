package api

import (
	"context"

	"holdfast/app/desk"
)

// tourRoutes are for the tour.
func tourRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/tour": func(context.Context, *call) (any, error) {
			t, err := d.Outages()
			if err != nil {
				return nil, err
			}
			return map[string]any{"switches": t.Switches()}, nil
		},
		"POST /api/v1/tour/{switch}": func(ctx context.Context, c *call) (any, error) {
			t, err := d.Outages()
			if err != nil {
				return nil, err
			}
			var o TourOrder
			if err := c.body(&o); err != nil {
				return nil, err
			}
			return done(t.Switch(ctx, c.PathValue("switch"), o.On))
		},
	}
}

// TourOrder says whether an outage begins or ends.
type TourOrder struct {
	On bool `json:"on"`
}
