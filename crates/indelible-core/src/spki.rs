//! Public keys as `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7), in the one DER encoding that each of them has.
//!
//! | key | algorithm | what stands in the bit string |
//! |---|---|---|
//! | Ed25519 | 1.3.101.112, no parameters (RFC 8410) | 32 bytes |
//! | ML-DSA-44 | 2.16.840.1.101.3.4.3.17, no parameters (RFC 9881) | 1,312 bytes |
//! | ECDSA P-256 | `id-ecPublicKey` with `prime256v1` (RFC 5480) | `0x04 ‖ x ‖ y` |
//! | RSA | `rsaEncryption` with `NULL` (RFC 3279) | `SEQUENCE { modulus, exponent }` (RFC 8017) |
//!
//! Reading accepts nothing but these bytes: what is read is written again and has to be the same. Whether a point is on the
//! curve, or a modulus is good for anything, is not looked at here.

/// The length of an ML-DSA-44 public key.
pub const ML_DSA_44_BYTES: usize = 1312;

/// `1.3.101.112`.
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// `2.16.840.1.101.3.4.3.17`.
const OID_ML_DSA_44: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11];
/// `1.2.840.10045.2.1`.
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `1.2.840.10045.3.1.7`.
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `1.2.840.113549.1.1.1`.
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// Why bytes are no public key that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpkiError {
    /// Not the structure, or not its DER encoding.
    #[error("the bytes are not a `SubjectPublicKeyInfo` in DER")]
    Malformed,
    /// Another kind of key.
    #[error(
        "the key is of a kind that is not known here; known are Ed25519, ML-DSA-44, ECDSA on P-256, and RSA as `rsaEncryption`"
    )]
    OtherKind,
    /// An elliptic curve, but not P-256.
    #[error("the key is on a curve that is not known here; known is P-256, also called prime256v1")]
    OtherCurve,
    /// A point in its compressed form.
    #[error(
        "the point of the key is not in its uncompressed form; `openssl pkey -pubin -ec_conv_form uncompressed` writes that"
    )]
    OtherPoint,
    /// A key with too many or too few bytes.
    #[error("the key has not the length of its kind")]
    Length,
}

/// The parts of a public key. RSA's numbers are big-endian without leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spki<'a> {
    /// RFC 8032.
    Ed25519(&'a [u8; 32]),
    /// FIPS 204.
    MlDsa44(&'a [u8; ML_DSA_44_BYTES]),
    /// `0x04`, then x and y with 32 bytes each.
    P256(&'a [u8; 65]),
    /// RFC 8017.
    Rsa {
        /// n.
        modulus: &'a [u8],
        /// e.
        exponent: &'a [u8],
    },
}

impl<'a> Spki<'a> {
    /// Reads the one encoding that a key has.
    ///
    /// # Errors
    /// [`SpkiError`].
    pub fn parse(der: &'a [u8]) -> Result<Self, SpkiError> {
        let spki = Self::read(der)?;
        if spki.to_der() == der { Ok(spki) } else { Err(SpkiError::Malformed) }
    }

    fn read(der: &'a [u8]) -> Result<Self, SpkiError> {
        let mut all = Reader(der);
        let mut body = Reader(all.take(SEQUENCE)?);
        let mut algorithm = Reader(body.take(SEQUENCE)?);
        let key = body.take(BIT_STRING)?.strip_prefix(&[0]).ok_or(SpkiError::Malformed)?;
        match algorithm.take(OID)? {
            OID_ED25519 => key.try_into().map(Self::Ed25519).map_err(|_| SpkiError::Length),
            OID_ML_DSA_44 => key.try_into().map(Self::MlDsa44).map_err(|_| SpkiError::Length),
            OID_EC if algorithm.take(OID)? != OID_P256 => Err(SpkiError::OtherCurve),
            OID_EC if key.first() != Some(&4) => Err(SpkiError::OtherPoint),
            OID_EC => key.try_into().map(Self::P256).map_err(|_| SpkiError::Length),
            OID_RSA => {
                let mut numbers = Reader(Reader(key).take(SEQUENCE)?);
                Ok(Self::Rsa { modulus: numbers.integer()?, exponent: numbers.integer()? })
            }
            _ => Err(SpkiError::OtherKind),
        }
    }

    /// The encoding.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let (oid, parameters, key) = match self {
            Self::Ed25519(key) => (OID_ED25519, Vec::new(), key.to_vec()),
            Self::MlDsa44(key) => (OID_ML_DSA_44, Vec::new(), key.to_vec()),
            Self::P256(key) => (OID_EC, value(OID, OID_P256), key.to_vec()),
            Self::Rsa { modulus, exponent } => {
                (OID_RSA, value(NULL, &[]), value(SEQUENCE, &[integer(modulus), integer(exponent)].concat()))
            }
        };
        let algorithm = value(SEQUENCE, &[value(OID, oid), parameters].concat());
        let key = value(BIT_STRING, &[vec![0], key].concat());
        value(SEQUENCE, &[algorithm, key].concat())
    }
}

/// How many bits a number has that is written big-endian without leading zeros.
#[must_use]
pub fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(zeros).unwrap_or(0))
}

/// Values in a row. Lengths need not be the shortest here: a key that is read is compared with what is written.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next value, which has to have this tag.
    fn take(&mut self, tag: u8) -> Result<&'a [u8], SpkiError> {
        let (&first, rest) = self.0.split_first().ok_or(SpkiError::Malformed)?;
        let (&short, rest) = rest.split_first().ok_or(SpkiError::Malformed)?;
        if first != tag {
            return Err(SpkiError::Malformed);
        }
        let more = if short < 0x80 { 0 } else { usize::from(short & 0x7f) };
        let (long, rest) = rest.split_at_checked(more).ok_or(SpkiError::Malformed)?;
        let length = match (short, long) {
            (short, []) if short < 0x80 => usize::from(short),
            (_, [one]) => usize::from(*one),
            (_, [high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(SpkiError::Malformed),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(SpkiError::Malformed)?;
        self.0 = rest;
        Ok(content)
    }

    /// A positive number without its leading zero.
    fn integer(&mut self) -> Result<&'a [u8], SpkiError> {
        let number = self.take(INTEGER)?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        if number.is_empty() { Err(SpkiError::Malformed) } else { Ok(number) }
    }
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let length = length.get(zeros..).unwrap_or_default();
    let mut bytes = vec![tag];
    match length {
        [] => bytes.push(0),
        [one] if *one < 0x80 => bytes.push(*one),
        // A length of more than 8 bytes does not exist, so the count fits.
        _ => {
            bytes.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            bytes.extend(length);
        }
    }
    bytes.extend(content);
    bytes
}

fn integer(number: &[u8]) -> Vec<u8> {
    let sign = number.first().is_none_or(|first| *first >= 0x80).then_some(0);
    value(INTEGER, &sign.into_iter().chain(number.iter().copied()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let (big, mut odd) = ([0xd3; 256], [0x11; 384]);
        odd[0] = 0x7f;
        let point: [u8; 65] = std::array::from_fn(|at| if at == 0 { 4 } else { 7 });
        [
            Spki::Ed25519(&[1; 32]),
            Spki::MlDsa44(&[2; ML_DSA_44_BYTES]),
            Spki::P256(&point),
            Spki::Rsa { modulus: &big, exponent: &[1, 0, 1] },
            Spki::Rsa { modulus: &odd, exponent: &[3] },
        ]
        .map(|spki| spki.to_der())
        .to_vec()
    }

    #[test]
    fn keys_read_back_and_have_one_spelling() {
        for der in samples() {
            assert_eq!(Spki::parse(&der).unwrap().to_der(), der);
            for cut in 0..der.len() {
                assert!(Spki::parse(&der[..cut]).is_err(), "cut at {cut}");
            }
            assert!(Spki::parse(&[&der[..], &[0]].concat()).is_err());
            for at in 0..der.len() {
                for bit in 0..8 {
                    let mut other = der.clone();
                    other[at] ^= 1 << bit;
                    if let Ok(read) = Spki::parse(&other) {
                        assert_eq!(read.to_der(), other);
                    }
                }
            }
        }
    }

    #[test]
    fn other_keys_are_told_apart() {
        let [ed, _, ec, rsa, _] = &samples()[..] else { panic!() };
        let swap = |der: &[u8], from: &[u8], to: &[u8]| {
            let at = der.windows(from.len()).position(|window| window == from).unwrap();
            [&der[..at], to, &der[at + from.len()..]].concat()
        };
        assert_eq!(Spki::parse(&swap(ed, OID_ED25519, &[0x2b, 0x65, 0x71])), Err(SpkiError::OtherKind));
        let other = [&OID_P256[..7], &[0x06]].concat();
        assert_eq!(Spki::parse(&swap(ec, OID_P256, &other)), Err(SpkiError::OtherCurve));
        assert_eq!(Spki::parse(&swap(ec, &[0, 4], &[0, 2])), Err(SpkiError::OtherPoint));
        // id-RSASSA-PSS is a kind of its own.
        let pss = [&OID_RSA[..8], &[0x0a]].concat();
        assert_eq!(Spki::parse(&swap(rsa, OID_RSA, &pss)), Err(SpkiError::OtherKind));
        let short = value(SEQUENCE, &[value(SEQUENCE, &value(OID, OID_ED25519)), value(BIT_STRING, &[0; 32])].concat());
        assert_eq!(Spki::parse(&short), Err(SpkiError::Length));
    }

    #[test]
    fn bits_are_counted_from_the_highest_that_is_set() {
        for (number, expect) in [(&[][..], 0), (&[1], 1), (&[0x80], 8), (&[1, 0, 1], 17), (&[0x7f, 0xff], 15)] {
            assert_eq!(bits(number), expect);
        }
    }
}
