// Small helpers that touch the document only where something changed.

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A text node whose `set` writes only a text that differs. */
export class Text {
  constructor(parent) {
    this.node = document.createTextNode('');
    this.text = '';
    parent.append(this.node);
  }

  set(text) {
    if (text === this.text) return;
    this.text = text;
    this.node.data = text;
  }
}

/** Sets an attribute if it differs; null removes it. */
export function attribute(element, name, value) {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Sets the text of an element that holds nothing else, if it differs. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

const SVG = 'http://www.w3.org/2000/svg';

/** A new SVG element. */
export function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/**
 * A table body of plain text rows, which keeps its rows from one `fill` to the next. `classes` name the cells.
 */
export class Lines {
  constructor(body, classes) {
    this.body = body;
    this.classes = classes;
    this.lines = [];
  }

  /** Shows exactly these rows, each an array of texts. */
  fill(rows) {
    while (this.lines.length > rows.length) this.lines.pop().row.remove();
    while (this.lines.length < rows.length) this.#add();
    rows.forEach((texts, at) => texts.forEach((value, column) => this.lines[at].cells[column].set(value)));
  }

  #add() {
    const row = document.createElement('tr');
    const cells = this.classes.map((name) => {
      const cell = row.insertCell();
      if (name) cell.className = name;
      return new Text(cell);
    });
    this.body.append(row);
    this.lines.push({ row, cells });
  }
}
