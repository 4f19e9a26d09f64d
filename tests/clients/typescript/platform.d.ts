// As much of React and React Native as the README's example uses.

declare namespace JSX {
  type Element = {};
  interface ElementChildrenAttribute {
    children: {};
  }
}

declare module 'react' {
  export function useEffect(effect: () => void, dependencies: unknown[]): void;
  export function useRef<T>(initial: T): {current: T};
  export function useState<T>(initial: T): [T, (next: T | ((before: T) => T)) => void];
}

declare module 'react-native' {
  type Component<Props> = (props: Props & {children?: unknown}) => JSX.Element;
  export const AppState: {addEventListener(type: 'change', listener: (state: 'active' | 'background' | 'inactive') => void): void};
  export const Button: Component<{title: string; onPress(): void}>;
  export const ScrollView: Component<{}>;
  export const Text: Component<{}>;
  export const TextInput: Component<{value: string; onChangeText(text: string): void; placeholder: string}>;
  export const View: Component<{style: {direction: 'rtl'}}>;
}
