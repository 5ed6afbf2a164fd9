/**
 * A record can't be decoded, however often it is tried. The message says why, without anything of the record, which is
 * personal data. What goes wrong with the registry or the network is another exception: to skip records then would be to
 * skip every order.
 */
final class UndecodableException extends Exception {
    private static final long serialVersionUID = 1L;

    UndecodableException(String reason) {
        super(reason);
    }
}
