import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertPathValidatorException.BasicReason;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.PKIXRevocationChecker.Option;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Verifies certificates, and their revocation by CRL or OCSP, by Java's own PKIX. Reads cases from stdin, one a line (see
 * tests/interop/cases.py), and prints each one's name and "good", "revoked" or what it complains of.
 */
final class Verify {
    private static CertificateFactory factory;

    public static void main(String[] arguments) throws IOException, GeneralSecurityException {
        factory = CertificateFactory.getInstance("X.509");
        var cases = new BufferedReader(new InputStreamReader(System.in));
        for (String line = cases.readLine(); line != null; line = cases.readLine()) {
            String[] fields = line.split("\t", -1);
            System.out.println(fields[0] + "\t" + verdict(fields));
        }
    }

    private static String verdict(String[] fields) throws IOException, GeneralSecurityException {
        X509Certificate root = certificate(fields[2]);
        var path = new ArrayList<X509Certificate>(List.of(certificate(fields[4])));
        for (String other : fields[3].split(",")) {
            if (!other.equals("-")) {
                path.add(certificate(other));
            }
        }
        var validator = CertPathValidator.getInstance("PKIX");
        var checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        var parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
        lookUpRevocation(checker, parameters, path.get(0), fields[5], fields[6]);
        var target = new X509CertSelector();
        target.setExtendedKeyUsage(Set.of(fields[1]));
        parameters.setTargetCertConstraints(target);
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(factory.generateCertPath(path), parameters);
            return "good";
        } catch (CertPathValidatorException refused) {
            return refused.getReason() == BasicReason.REVOKED ? "revoked" : refused.toString().replace('\n', ' ');
        }
    }

    /** From a file with a CRL or, where there is none, from one with an OCSP response: of the leaf alone. */
    private static void lookUpRevocation(PKIXRevocationChecker checker, PKIXParameters parameters,
            X509Certificate leaf, String crl, String ocsp) throws IOException, GeneralSecurityException {
        var options = EnumSet.of(Option.ONLY_END_ENTITY, Option.NO_FALLBACK);
        if (crl.equals("-")) {
            checker.setOcspResponses(Map.of(leaf, Files.readAllBytes(Path.of(ocsp))));
        } else {
            options.add(Option.PREFER_CRLS);
            var crls = List.of(factory.generateCRL(new ByteArrayInputStream(Files.readAllBytes(Path.of(crl)))));
            parameters.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(crls)));
        }
        checker.setOptions(options);
    }

    private static X509Certificate certificate(String path) throws IOException, GeneralSecurityException {
        var bytes = new ByteArrayInputStream(Files.readAllBytes(Path.of(path)));
        return (X509Certificate) factory.generateCertificate(bytes);
    }
}
