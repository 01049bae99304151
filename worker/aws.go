package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.temporal.io/sdk/temporal"
	"go.uber.org/zap"

	"edgefleet/activities"
)

// checkAWS asks AWS who the worker is, so that wrong credentials or a wrong region are said at the
// start and not by every device's run. AWS being away is no reason not to start: it comes back.
func checkAWS(ctx context.Context, cfg aws.Config, log *zap.Logger) error {
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("there are no AWS credentials: %w. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine a role", err)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err == nil {
		log.Info("AWS knows the worker", zap.String("account", aws.ToString(who.Account)), zap.String("arn", aws.ToString(who.Arn)))
		return nil
	}
	err = activities.AWSError(fmt.Sprintf("asking AWS STS in region %q who the worker is", cfg.Region), err)
	var said *temporal.ApplicationError
	if errors.As(err, &said) && said.NonRetryable() {
		return errors.New(said.Message())
	}
	log.Warn("AWS did not say who the worker is; going on, since activities retry", zap.Error(err))
	return nil
}
