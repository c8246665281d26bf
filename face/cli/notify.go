package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"holdfast/app"
)

func (f *face) notifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "notify",
		Short: "Try the places where people are told",
	}
	var config string
	test := &cobra.Command{
		Use:   "test [-c FILE]",
		Short: "Send a test to every place below notify: of a configuration",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := app.Load(config)
			if err != nil {
				return err
			}
			return cfg.TestNotify(func(name string, err error) {
				if err == nil {
					fmt.Fprintf(f.out, "%s: sent\n", name)
				}
			})
		},
	}
	test.Flags().StringVarP(&config, "config", "c", "holdfast.yaml", "configuration file")
	c.AddCommand(test)
	return c
}
