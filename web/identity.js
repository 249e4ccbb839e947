// Who the page is to the server: the token that its user gave, and the form for it. This tab keeps it, over reloads, and
// nothing else does.

import { byId, text } from './dom.js';

const KEY = 'tickcast.token';

/** The tab's memory, which a browser may refuse. */
const memory = {
  get() {
    try {
      return sessionStorage.getItem(KEY);
    } catch {
      return null;
    }
  },
  set(token) {
    try {
      if (token === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, token);
    } catch {
      // Then it lasts until the page is loaded anew.
    }
  },
};

/** See the module. `given(token)` is called with what the user gives, which is `keep`-t where the server is to be given it. */
export class Identity {
  #token = memory.get();
  #form = byId('identity');
  #field = byId('token');

  constructor(given) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const token = this.#field.value.trim();
      this.#field.value = '';
      if (token) given(token);
    });
    this.#form.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      this.#form.hidden = true;
    });
    byId('sign-in').addEventListener('click', () => this.ask('A token shows what it grants.'));
    byId('sign-out').addEventListener('click', () => {
      this.keep(null);
      // Nothing that was shown to somebody is left for the next.
      location.reload();
    });
    byId('in-the-clear').hidden = isSecureContext;
  }

  /** What the server is given, or null. */
  get token() {
    return this.#token;
  }

  keep(token) {
    this.#token = token;
    memory.set(token);
  }

  /** The headers of a request over HTTP. */
  get headers() {
    return this.#token === null ? {} : { authorization: `Bearer ${this.#token}` };
  }

  /** The server has taken the token, whose holder has this name. */
  known(name) {
    // A link gives no token.
    byId('links').hidden = true;
    this.#form.hidden = true;
    text(byId('who'), name);
    byId('who').hidden = byId('sign-out').hidden = false;
    byId('sign-in').hidden = true;
  }

  /** Asks for a token, and says why. */
  ask(why) {
    text(byId('identity-why'), why);
    this.#form.hidden = false;
    this.#field.focus();
  }

  /** There is more for who has a token, and the links are for operators. */
  offer() {
    byId('links').hidden = true;
    byId('sign-in').hidden = this.#token !== null;
  }
}
