//! QR codes as PNG (W3C PNG, third edition): black and white, one bit for a pixel.
//!
//! An image of two colours needs four chunks and no filter, so this writes them itself; miniz_oxide compresses. A crate
//! for PNG would bring seven others.

use miniz_oxide::deflate::compress_to_vec_zlib;

use super::{QrCode, Size};

/// The first bytes of a PNG (§5.2).
const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// The rest of IHDR behind width and height (§11.2.1): one bit, greyscale, deflate, filters by row, not interlaced.
const ONE_BIT_GREY: [u8; 5] = [1, 0, 0, 0, 0];
/// The filter of every row: none (§9.2).
const NO_FILTER: u8 = 0;
/// The effort of the compression, 0 to 10.
const EFFORT: u8 = 6;

impl QrCode {
    /// The code as a PNG.
    pub(crate) fn png(&self, size: Size) -> Vec<u8> {
        let pixels = self.width(size.margin) * size.scale;
        let [width, height] = [pixels.to_be_bytes(); 2];
        let header = [&width[..], &height, &ONE_BIT_GREY].concat();
        let mut png = SIGNATURE.to_vec();
        chunk(&mut png, *b"IHDR", &header);
        chunk(
            &mut png,
            *b"IDAT",
            &compress_to_vec_zlib(&self.rows(size), EFFORT),
        );
        chunk(&mut png, *b"IEND", &[]);
        png
    }

    /// The rows of the image, each behind its filter (§7.2).
    fn rows(&self, size: Size) -> Vec<u8> {
        let width = self.width(size.margin);
        let mut rows = Vec::new();
        for row in 0..width {
            let line = self.row(size, row);
            for _ in 0..size.scale {
                rows.push(NO_FILTER);
                rows.extend_from_slice(&line);
            }
        }
        rows
    }

    /// The pixels of a row: 1 is white, and the first pixel is the highest bit.
    fn row(&self, size: Size, row: u32) -> Vec<u8> {
        let pixels = self.width(size.margin) * size.scale;
        let is_white = |pixel: u32| !self.is_dark(size.margin, pixel / size.scale, row);
        let bytes = (0..pixels).step_by(8).map(|first| {
            let bits = (first..pixels.min(first + 8)).filter(|&pixel| is_white(pixel));
            bits.fold(0, |byte, pixel| byte | 0x80_u8 >> (pixel - first))
        });
        bytes.collect()
    }
}

/// Adds a chunk (§5.3).
fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    // An image has less than 2^31 bytes: its sides have at most 8,360 pixels.
    let length = u32::try_from(data.len()).unwrap_or(0);
    png.extend_from_slice(&length.to_be_bytes());
    let begin = png.len();
    png.extend_from_slice(&kind);
    png.extend_from_slice(data);
    let sum = crc(&png[begin..]);
    png.extend_from_slice(&sum.to_be_bytes());
}

/// The CRC of a chunk's type and data (§5.5).
fn crc(bytes: &[u8]) -> u32 {
    /// The polynomial with its bits reversed.
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let step = |crc: u32| match crc & 1 {
        0 => crc >> 1,
        _ => crc >> 1 ^ POLYNOMIAL,
    };
    let sum = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::qr::Level;

    #[test]
    fn checksums() {
        // The check value of CRC-32, and the end of every PNG.
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc(b"IEND"), 0xAE42_6082);
    }

    #[test]
    fn one_bit_for_a_pixel() {
        let code = QrCode::of_url("https://a.b/", Level::M).unwrap();
        let size = Size {
            scale: 1,
            margin: 1,
        };
        // 23 pixels: a light one, a finder pattern of seven dark ones, …, a light one, and a bit that is no pixel.
        let row = code.row(size, 1);
        assert_eq!((row.len(), row[0], row[2]), (3, 0b1000_0000, 0b0000_0010));
        assert_eq!(code.row(size, 0), [0xFF, 0xFF, 0xFE]);
        let png = code.png(size);
        assert_eq!(png[..8], SIGNATURE);
        assert_eq!(png[16..24], [0, 0, 0, 23, 0, 0, 0, 23]);
        let rows = code.rows(Size {
            scale: 2,
            margin: 0,
        });
        assert_eq!(rows.len(), 42 * (1 + 6));
    }
}
