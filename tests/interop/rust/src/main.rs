//! Verifies certificates, and their revocation by CRL, as rustls does. Reads cases from stdin, one a line (see
//! tests/interop/cases.py), and prints each one's name and "good", "revoked" or what it complains of.

use std::io::{self, BufRead};
use std::{error::Error, fs};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    anchor_from_trusted_cert, BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, ALL_VERIFICATION_ALGS,
};

fn main() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, usage, root, intermediates, leaf, crl, _ocsp] = fields[..] else {
            return Err(format!("not a case: {line}").into());
        };
        match verify(usage, root, intermediates, leaf, crl) {
            Ok(()) => println!("{name}\tgood"),
            Err(error) if error.to_string() == "CertRevoked" => println!("{name}\trevoked"),
            Err(error) => println!("{name}\t{error}"),
        }
    }
    Ok(())
}

fn verify(usage: &str, root: &str, intermediates: &str, leaf: &str, crl: &str) -> Result<(), Box<dyn Error>> {
    let (root, leaf) = (certificate(root)?, certificate(leaf)?);
    let others = intermediates.split(',').filter(|path| *path != "-");
    let others = others.map(certificate).collect::<Result<Vec<_>, _>>()?;
    let crl = fs::read(crl)?;
    let crl: CertRevocationList = BorrowedCertRevocationList::from_der(&crl).map_err(in_words)?.into();
    let crls = [&crl];
    let revocation = RevocationOptionsBuilder::new(&crls).map_err(|_| "no CRL")?;
    let revocation = revocation.with_depth(RevocationCheckDepth::EndEntity).build();
    let anchor = anchor_from_trusted_cert(&root).map_err(in_words)?;
    EndEntityCert::try_from(&leaf)
        .and_then(|end_entity| {
            end_entity
                .verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    &[anchor],
                    &others,
                    UnixTime::now(),
                    KeyUsage::required_if_present(key_purpose(usage)),
                    Some(revocation),
                    None,
                )
                .map(|_| ())
        })
        .map_err(in_words)
}

fn certificate(path: &str) -> Result<CertificateDer<'static>, Box<dyn Error>> {
    Ok(CertificateDer::from(fs::read(path)?))
}

fn in_words(error: webpki::Error) -> Box<dyn Error> {
    format!("{error:?}").into()
}

/// The value of the OBJECT IDENTIFIER of a usage under 1.3.6.1.5.5.7.3.
fn key_purpose(usage: &str) -> &'static [u8] {
    let last = usage.rsplit('.').next().and_then(|arc| arc.parse().ok()).unwrap_or(0);
    vec![0x2b, 6, 1, 5, 5, 7, 3, last].leak()
}
