// React Native's XMLHttpRequest over Node's http, as far as the clients here use it.
//
// Two habits of React Native's matter (Libraries/Network/XMLHttpRequest.js): after a network error the status of the answer
// stays, and the text of the answer becomes the error's.

import http from 'node:http';

export class XMLHttpRequest {
  static UNSENT = 0;
  static OPENED = 1;
  static HEADERS_RECEIVED = 2;
  static LOADING = 3;
  static DONE = 4;

  readyState = XMLHttpRequest.UNSENT;
  status = 0;
  timeout = 0;
  onreadystatechange = null;
  onload = null;
  onerror = null;
  #method;
  #url;
  #headers = {};
  #response = '';
  #request = null;
  #answer = null;

  get responseText() {
    return this.readyState < XMLHttpRequest.LOADING ? '' : this.#response;
  }

  getResponseHeader(name) {
    return this.#answer?.headers[name.toLowerCase()] ?? null;
  }

  open(method, url) {
    this.#method = method;
    this.#url = url;
    this.#become(XMLHttpRequest.OPENED);
  }

  setRequestHeader(name, value) {
    this.#headers[name.toLowerCase()] = String(value);
  }

  send(body) {
    this.#request = http.request(this.#url, {method: this.#method, headers: this.#headers}, (answer) => this.#receive(answer));
    this.#request.on('error', (error) => this.#complete(error.message));
    this.#request.end(body);
  }

  abort() {
    const request = this.#request;
    this.#request = null;
    request?.destroy();
    if (request && this.readyState !== XMLHttpRequest.DONE) {
      this.status = 0;
      this.#response = '';
      this.#become(XMLHttpRequest.DONE);
    }
  }

  #receive(answer) {
    if (!this.#request) return;
    this.#answer = answer;
    this.status = answer.statusCode;
    this.#become(XMLHttpRequest.HEADERS_RECEIVED);
    answer.setEncoding('utf8');
    answer.on('data', (text) => {
      if (!this.#request) return;
      this.#response += text;
      this.#become(XMLHttpRequest.LOADING);
    });
    answer.on('end', () => this.#complete(null));
    answer.on('error', (error) => this.#complete(error.message));
  }

  #complete(error) {
    if (!this.#request) return;
    this.#request = null;
    if (error !== null) this.#response = error;
    this.#become(XMLHttpRequest.DONE);
    if (error === null) this.onload?.();
    else this.onerror?.();
  }

  #become(state) {
    this.readyState = state;
    this.onreadystatechange?.();
  }
}
