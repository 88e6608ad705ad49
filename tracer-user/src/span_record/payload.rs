//! The captures of a call, as the kernel packed them: small ones inside the span.

/// Bytes kept inside the span.
const INLINE: usize = 79;

/// Immutable bytes; up to 79 of them need no allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Store);

#[derive(Clone, PartialEq, Eq)]
enum Store {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl Payload {
    /// Copies `bytes`.
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match (inline.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(bytes);
                Self(Store::Inline { len, bytes: inline })
            }
            _ => Self(Store::Heap(bytes.into())),
        }
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Store::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Store::Heap(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({})", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_any_length() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 5000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            assert_eq!(Payload::new(&bytes).as_slice(), bytes);
        }
    }
}
