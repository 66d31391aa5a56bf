package main

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// A series is a line of a plot.
type series struct {
	name string
	x, y []float64
}

// plot draws lines over time into an SVG beside the report, and returns its
// name.
func (r *report) plot(name, title, x, y string, lines ...series) (string, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	for i, s := range lines {
		points := make(plotter.XYs, len(s.x))
		for j := range s.x {
			points[j].X, points[j].Y = s.x[j], s.y[j]
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return "", err
		}
		line.Color = plotutil.Color(i)
		p.Add(line)
		p.Legend.Add(s.name, line)
	}
	file := name + ".svg"
	return file, p.Save(20*vg.Centimeter, 8*vg.Centimeter, r.path(file))
}
