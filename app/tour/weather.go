package tour

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"holdfast/base/disk"
)

// weatherData is the data set of the tour, in the data directory.
const weatherData = "weather.csv"

// zips is how many places the data set has; the real one has some 44,000.
const zips = 1000

var states = strings.Split("Alabama,Alaska,Arizona,California,Colorado,Florida,Georgia,Hawaii,Idaho,Illinois,Iowa,"+
	"Kansas,Maine,Montana,Nevada,New Mexico,New York,Ohio,Oregon,Texas,Utah,Vermont,Virginia,Washington,Wyoming", ",")

// writeWeather writes a made-up day of weather, unless it is there: the same each time.
func writeWeather(dir string) (err error) {
	path := filepath.Join(dir, weatherData)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := disk.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(path + ".part")
	if err != nil {
		return fmt.Errorf("write the weather of the tour: %w", err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "time,zip_code,state,name,lat,lon,temp_c,pressure_mb,precip_mm,humidity,cloud,wind_kph,uv")
	for hour := range 24 {
		for zip := range zips {
			state := zip * len(states) / zips
			north := 25 + 24*float64(state%7)/7
			sun := math.Max(0, math.Sin(float64(hour-6)*math.Pi/12))
			ripple := math.Sin(float64(zip*37 + hour*11)) // in the place of chance
			fmt.Fprintf(w, "2023-09-19 %02d:00,%05d,%s,Town %d,%.2f,%.2f,%.1f,%.1f,%.1f,%.0f,%.0f,%.1f,%.1f\n", hour,
				501+97*zip, states[state], zip, north, -120+50*float64(zip%50)/50, 34-north/2+9*sun+3*ripple,
				1013+8*ripple, math.Max(0, 4*ripple-3), 60-25*sun+15*ripple, 50+50*ripple, 12+10*ripple, 8*sun)
		}
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return fmt.Errorf("write the weather of the tour: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the weather of the tour: %w", err)
	}
	return os.Rename(path+".part", path)
}
