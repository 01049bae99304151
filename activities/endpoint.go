package activities

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// DescribeEndpoint returns the host of the account's credential provider, stable for the account
// and region.
func (a *Activities) DescribeEndpoint(ctx context.Context) (string, error) {
	const doing = "looking up the credential provider's endpoint"
	out, err := a.iot.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:CredentialProvider")})
	if err != nil {
		return "", AWSError(doing, err)
	}
	host := aws.ToString(out.EndpointAddress)
	if host == "" {
		return "", failed(NotFound, doing, "AWS IoT named none for this account and region")
	}
	return host, nil
}

// CredentialsURL is where a device of that role alias fetches credentials.
func CredentialsURL(endpoint, roleAlias string) string {
	return fmt.Sprintf("https://%s/role-aliases/%s/credentials", endpoint, roleAlias)
}
