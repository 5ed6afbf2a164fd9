import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;

/**
 * Decodes events by the schema that wrote them, found in the registry by the ID in each event. Confluent's
 * KafkaAvroDeserializer does the same; it is not on Maven Central, and the format is five bytes.
 */
final class EventDecoder {
    private static final int MAGIC = 0;
    private static final int HEADER = 5;
    private static final String EVENT = "com.imotriz.orders.v1.OrderEvent";

    /** What a registry says of an ID that it has not given out. */
    private static final int SCHEMA_NOT_FOUND = 40403;

    private static final Instant EARLIEST = Instant.parse("0001-01-01T00:00:00Z");
    private static final Instant LATEST = Instant.parse("9999-12-31T23:59:59.999Z");

    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    private final ObjectMapper json = new ObjectMapper();
    private final String registry;
    private final GenericData model = new GenericData();
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();

    EventDecoder(String registry) {
        this.registry = registry;
        // Without these two a decimal is a ByteBuffer, and a timestamp a long.
        model.addLogicalTypeConversion(new Conversions.DecimalConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
    }

    /** The event in a message: amounts are BigDecimal with four places, times Instant. */
    GenericRecord decode(byte[] message) throws IOException, InterruptedException, UndecodableException {
        if (message == null) {
            throw new UndecodableException("it has no value");
        }
        ByteBuffer header = ByteBuffer.wrap(message);
        if (message.length < HEADER || header.get() != MAGIC) {
            throw new UndecodableException("it does not begin with the ID of a schema");
        }
        GenericDatumReader<GenericRecord> reader = reader(header.getInt());
        if (!reader.getSchema().getFullName().equals(EVENT)) {
            throw new UndecodableException("it is not an event of an order");
        }
        var datum = DecoderFactory.get().binaryDecoder(message, HEADER, message.length - HEADER, null);
        GenericRecord event;
        try {
            event = reader.read(null, datum);
        } catch (IOException | RuntimeException e) {
            // Not the exception itself: it can quote the record.
            throw new UndecodableException("it is not what its schema says");
        }
        for (String field : List.of("created_at", "updated_at", "read_at")) {
            // Hardly any program reads the text of such a time.
            if (event.get(field) instanceof Instant time && (time.isBefore(EARLIEST) || time.isAfter(LATEST))) {
                throw new UndecodableException("a time is outside the years 1 to 9999");
            }
        }
        return event;
    }

    private GenericDatumReader<GenericRecord> reader(int id)
            throws IOException, InterruptedException, UndecodableException {
        GenericDatumReader<GenericRecord> reader = readers.get(id);
        if (reader == null) {
            Schema writer = schema(id);
            reader = new GenericDatumReader<>(writer, writer, model);
            readers.put(id, reader);
        }
        return reader;
    }

    private Schema schema(int id) throws IOException, InterruptedException, UndecodableException {
        URI uri = URI.create(registry + "/schemas/ids/" + id);
        HttpRequest request = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(10)).build();
        HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() == 404
                && json.readTree(response.body()).path("error_code").asInt() == SCHEMA_NOT_FOUND) {
            throw new UndecodableException("the registry does not know its schema");
        }
        if (response.statusCode() != 200) {
            throw new IOException("the registry answers " + response.statusCode() + " for the schema " + id);
        }
        return new Schema.Parser().parse(json.readTree(response.body()).get("schema").asText());
    }
}
