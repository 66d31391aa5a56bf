package main

import (
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// plot writes validation.svg and growth.svg. It omits plots without data.
func (r *report) plot(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if len(r.costs) > 0 {
		if err := plotCosts(r.costs, filepath.Join(folder, "validation.svg")); err != nil {
			return err
		}
	}
	if len(r.growth) > 0 {
		return plotGrowth(r.growth, filepath.Join(folder, "growth.svg"))
	}
	return nil
}

func plotCosts(costs []figure, file string) error {
	p := plot.New()
	p.Title.Text = "A request inside Gin, by how it tells who is calling"
	p.X.Label.Text = "ns per request (logarithmic)"
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = plot.LogTicks{Prec: -1}
	var bars bars
	var names []string
	for i := len(costs) - 1; i >= 0; i-- { // backwards, so that the first is drawn at the top
		bars = append(bars, costs[i].median())
		names = append(names, costs[i].name)
	}
	p.Add(bars)
	p.NominalY(names...)
	// The bars begin at 10, since a logarithmic axis has no zero.
	p.X.Min, p.X.Max = 10, 1e6
	return p.Save(8*vg.Inch, 4.5*vg.Inch, file)
}

// bars is a plotter of horizontal bars that also works on a logarithmic axis.
type bars []float64

func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, v := range b {
		height := vg.Points(9)
		from, to, middle := x(p.X.Min), x(math.Max(v, p.X.Min)), y(float64(i))
		c.FillPolygon(plotutil.Color(2), []vg.Point{
			{X: from, Y: middle - height/2}, {X: to, Y: middle - height/2},
			{X: to, Y: middle + height/2}, {X: from, Y: middle + height/2},
		})
		style := p.Y.Tick.Label
		style.XAlign, style.YAlign, style.Color = draw.XLeft, draw.YCenter, color.Black
		c.FillText(style, vg.Point{X: to + vg.Points(4), Y: middle}, decimal(v, 0))
	}
}

func (b bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	return 10, 1e6, -0.5, float64(len(b)) - 0.5
}

func plotGrowth(lines []series, file string) error {
	p := plot.New()
	p.Title.Text = "A request inside Gin, by how many tokens there are"
	p.X.Label.Text = "tokens (logarithmic)"
	p.Y.Label.Text = "ns per request"
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = plot.LogTicks{Prec: -1}
	for i, line := range lines {
		points := make(plotter.XYs, len(line.x))
		for j := range points {
			points[j] = plotter.XY{X: line.x[j], Y: line.y[j]}
		}
		l, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		l.Color, marks.Color, marks.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(l, marks)
		p.Legend.Add(line.name, l, marks)
	}
	p.Add(plotter.NewGrid())
	p.X.Max *= 1.5
	p.Y.Min, p.Y.Max = 0, 1.2*p.Y.Max
	p.Legend.Top, p.Legend.Left = true, true
	return p.Save(8*vg.Inch, 4*vg.Inch, file)
}
