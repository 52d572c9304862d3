package main

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

var (
	errRevoked       = errors.New("revoked")
	oidIssuingPoint  = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidExtendedUsage = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3}
)

// verify looks up the chain and the leaf's revocation, by a CRL or else by an OCSP response; "-" is no file.
func verify(usage, root, intermediates, leaf, crl, response string) error {
	certificate, err := readCertificate(leaf)
	if err != nil {
		return err
	}
	chain, err := chainOf(certificate, root, intermediates)
	if err != nil {
		return err
	}
	if !mayBeFor(certificate, usage) {
		return errors.New("not for this usage")
	}
	if crl != "-" {
		return lookUpCRL(crl, certificate, chain[1])
	}
	return lookUpOCSP(response, certificate, chain[1])
}

func chainOf(leaf *x509.Certificate, root, intermediates string) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // Go has no name for each; see mayBeFor
	}
	for pool, paths := range map[*x509.CertPool]string{options.Roots: root, options.Intermediates: intermediates} {
		for path := range strings.SplitSeq(paths, ",") {
			if path == "-" {
				continue
			}
			certificate, err := readCertificate(path)
			if err != nil {
				return nil, err
			}
			pool.AddCert(certificate)
		}
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

func mayBeFor(leaf *x509.Certificate, usage string) bool {
	known := map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageServerAuth: "1", x509.ExtKeyUsageClientAuth: "2", x509.ExtKeyUsageCodeSigning: "3",
		x509.ExtKeyUsageEmailProtection: "4", x509.ExtKeyUsageTimeStamping: "8",
	}
	for _, one := range leaf.ExtKeyUsage {
		if usage == oidExtendedUsage.String()+"."+known[one] {
			return true
		}
	}
	return slices.ContainsFunc(leaf.UnknownExtKeyUsage, func(one asn1.ObjectIdentifier) bool {
		return one.String() == usage
	})
}

// lookUpCRL leaves to the library what that does; RFC 5280, 6.3.3, asks for some more.
func lookUpCRL(path string, leaf, issuer *x509.Certificate) error {
	der, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return err
	}
	if now := time.Now(); now.Before(list.ThisUpdate) || now.After(list.NextUpdate) {
		return errors.New("the CRL is not of today")
	}
	for _, extension := range list.Extensions {
		if extension.Id.Equal(oidIssuingPoint) {
			if !namesOneOf(extension.Value, leaf.CRLDistributionPoints) {
				return errors.New("the CRL is not for this certificate")
			}
		} else if extension.Critical {
			return fmt.Errorf("the CRL has a critical extension %v", extension.Id)
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.RevocationTime.After(list.ThisUpdate) {
			return errors.New("the CRL has an entry that is later than it")
		}
		if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return errRevoked
		}
	}
	return nil
}

func namesOneOf(point []byte, urls []string) bool {
	return slices.ContainsFunc(urls, func(url string) bool { return bytes.Contains(point, []byte(url)) })
}

func lookUpOCSP(path string, leaf, issuer *x509.Certificate) error {
	der, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	response, err := ocsp.ParseResponseForCert(der, leaf, issuer)
	if err != nil {
		return err
	}
	if responder := response.Certificate; responder == nil ||
		!slices.Contains(responder.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return errors.New("the responder may not answer")
	}
	switch response.Status {
	case ocsp.Good:
		return nil
	case ocsp.Revoked:
		return errRevoked
	default:
		return errors.New("unknown")
	}
}

func readCertificate(path string) (*x509.Certificate, error) {
	der, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
