import assert from 'node:assert/strict';
import { test } from 'node:test';
import { add, align, compare, isZero, pad, places, subtract } from '../../web/decimal.js';
import { generator } from './market.mjs';

test('decimals that a float cannot tell apart are told apart', () => {
  assert.equal(Number('0.1234567890123456789'), Number('0.1234567890123456788'));
  assert.equal(compare('0.1234567890123456789', '0.1234567890123456788'), 1);
  assert.equal(compare('9007199254740993', '9007199254740992'), 1);
  assert.equal(subtract('9007199254740993', '9007199254740992'), '1');
  assert.equal(add('0.1', '0.2'), '0.3');
  assert.equal(subtract('61837.64', '61837.63'), '0.01');
});

test('the order is that of the values, not of the texts', () => {
  const ascending = ['-10', '-9.5', '-0.001', '0', '0.00000001', '0.5', '1', '1.05', '1.5', '9', '10', '61837.63', '61837.64', '100000'];
  ascending.forEach((a, i) => ascending.forEach((b, j) => assert.equal(compare(a, b), Math.sign(i - j), `${a} and ${b}`)));
});

test('equal values in different clothes are equal', () => {
  for (const [a, b] of [['1.5', '1.50'], ['0', '-0'], ['0', '0.000'], ['007', '7'], ['-2', '-2.0'], ['.5', '0.5']]) {
    assert.equal(compare(a, b), 0, `${a} and ${b}`);
    assert.equal(compare(b, a), 0, `${b} and ${a}`);
  }
});

test('arithmetic agrees with integers', () => {
  const random = generator(7);
  const whole = () => BigInt(Math.floor((random() - 0.5) * 2 ** 50));
  const text = (value, scale) => {
    const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0');
    return (value < 0n ? '-' : '') + (scale ? `${digits.slice(0, -scale)}.${digits.slice(-scale)}` : digits);
  };
  for (let round = 0; round < 2000; round += 1) {
    const [aScale, bScale] = [Math.floor(random() * 10), Math.floor(random() * 10)];
    const [a, b] = [whole(), whole()];
    const [aCommon, bCommon] = [a * 10n ** BigInt(9 - aScale), b * 10n ** BigInt(9 - bScale)];
    const [aText, bText] = [text(a, aScale), text(b, bScale)];
    assert.equal(compare(aText, bText), aCommon < bCommon ? -1 : aCommon > bCommon ? 1 : 0, `${aText} and ${bText}`);
    assert.equal(compare(add(aText, bText), text(aCommon + bCommon, 9)), 0, `${aText} + ${bText}`);
    assert.equal(compare(subtract(aText, bText), text(aCommon - bCommon, 9)), 0, `${aText} - ${bText}`);
    assert.doesNotMatch(add(aText, bText), /\.\d*0$|\.$/);
  }
});

test('zero, places, padding', () => {
  for (const zero of ['0', '0.0', '-0', '-0.000', '00']) assert.ok(isZero(zero), zero);
  for (const other of ['0.1', '10', '-1', '0.00000001']) assert.ok(!isZero(other), other);
  assert.equal(places('61837.63'), 2);
  assert.equal(places('61837'), 0);
  assert.equal(pad('1.5', 3), '1.500');
  assert.equal(pad('1', 2), '1.00');
  assert.equal(pad('1.23456', 2), '1.23456', 'never rounds');
});

test('points stand in one line', () => {
  const column = [['61837.6', 2], ['0.1234', 4], ['17', 0], ['3', 1]].map(([text, own]) => align(text, own, 4));
  const fromRight = column.map((text) => text.length - (text.includes('.') ? text.indexOf('.') : text.trimEnd().length));
  assert.deepEqual(new Set(fromRight), new Set([5]));
  assert.equal(column[0].trimEnd(), '61837.60');
  assert.equal(align('5', 0, 0), '5');
});
