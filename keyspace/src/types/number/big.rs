//! Just enough arbitrary precision to read and print 80-bit floats exactly.

use std::cmp::Ordering;

/// An unsigned integer, least significant word first, without zero words at the top.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Big {
    words: Vec<u32>,
}

impl Big {
    pub fn from_u64(value: u64) -> Self {
        let mut big = Big { words: vec![value as u32, (value >> 32) as u32] };
        big.trim();
        big
    }

    /// The value of ASCII digits.
    pub fn from_digits<'a>(digits: impl Iterator<Item = &'a u8>) -> Self {
        let mut big = Big { words: Vec::new() };
        let (mut chunk, mut scale) = (0, 1);
        for &digit in digits {
            chunk = chunk * 10 + u32::from(digit - b'0');
            scale *= 10;
            if scale == 1_000_000_000 {
                big.multiply_add(scale, chunk);
                (chunk, scale) = (0, 1);
            }
        }
        big.multiply_add(scale, chunk);
        big
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    pub fn is_zero(&self) -> bool {
        self.words.is_empty()
    }

    pub fn bit_len(&self) -> usize {
        self.words.last().map_or(0, |top| 32 * self.words.len() - top.leading_zeros() as usize)
    }

    pub fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for word in &mut self.words {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        self.words.push(carry as u32);
        self.trim();
    }

    pub fn multiply_by_power_of_ten(&mut self, exponent: u32) {
        for _ in 0..exponent / 9 {
            self.multiply_add(1_000_000_000, 0);
        }
        self.multiply_add(10u32.pow(exponent % 9), 0);
    }

    pub fn shift_left(&mut self, bits: usize) {
        if self.is_zero() {
            return;
        }
        let (words, bits) = (bits / 32, bits % 32);
        self.words.push(0);
        for index in (0..self.words.len()).rev() {
            let low = if index > 0 { self.words[index - 1] } else { 0 };
            let pair = u64::from(self.words[index]) << 32 | u64::from(low);
            self.words[index] = (pair << bits >> 32) as u32;
        }
        self.words.splice(0..0, std::iter::repeat_n(0, words));
        self.trim();
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.words.iter_mut().rev() {
            let low_bit = *word & 1;
            *word = *word >> 1 | carry << 31;
            carry = low_bit;
        }
        self.trim();
    }

    /// Subtracts a number that is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = 0;
        for (index, word) in self.words.iter_mut().enumerate() {
            let summand = other.words.get(index).map_or(0, |&word| i64::from(word));
            let difference = i64::from(*word) - summand - borrow;
            *word = difference as u32;
            borrow = i64::from(difference < 0);
        }
        self.trim();
    }

    /// The quotient, which has to fit `bits` bits, and whether a remainder is left.
    pub fn divide(mut self, mut divisor: Big, bits: usize) -> (u128, bool) {
        let mut quotient = 0;
        divisor.shift_left(bits);
        for _ in 0..bits {
            divisor.halve();
            quotient <<= 1;
            if self.cmp(&divisor) != Ordering::Less {
                self.subtract(&divisor);
                quotient |= 1;
            }
        }
        (quotient, !self.is_zero())
    }

    /// Appends the decimal digits.
    pub fn append_digits(mut self, out: &mut Vec<u8>) {
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut remainder = 0;
            for word in self.words.iter_mut().rev() {
                let dividend = remainder << 32 | u64::from(*word);
                *word = (dividend / 1_000_000_000) as u32;
                remainder = dividend % 1_000_000_000;
            }
            self.trim();
            chunks.push(remainder);
        }
        let first = chunks.pop().unwrap_or(0);
        out.extend_from_slice(first.to_string().as_bytes());
        for chunk in chunks.iter().rev() {
            out.extend_from_slice(format!("{chunk:09}").as_bytes());
        }
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Big {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_len = self.words.len().cmp(&other.words.len());
        by_len.then_with(|| self.words.iter().rev().cmp(other.words.iter().rev()))
    }
}
